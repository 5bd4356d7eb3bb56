"""An example for each command's help: what is typed, and what it prints."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final = {
    "split": """
$ toolkit split PetImages --ratio 0.9
PetImages-split: made: 1,081 train, 121 validation; left out 9 (...); see PetImages-split/split.csv
""",
    "check": """
$ toolkit check PetImages --html findings.html
PetImages: 1,211 files (not images: 2 .db, 1 .jpg), 1,205 readable images in 2 classes, 22 findings
empty: 2 (files of 0 bytes)
  Cat/666.jpg: the file is empty (0 bytes)
  ...
""",
    "train": """
$ toolkit train PetImages-split
model: transfer, head in closed form, validation accuracy 0.9917 (121 images), ... s

$ toolkit train photos --labels labels.csv
""",
    "export": """
$ toolkit export model --onnx
file              size      images  largest difference  same top-1  accuracy (Keras)
model/model.onnx  13.47 MB  121     6.0e-07             100.00%     0.9917 (0.9917)
""",
    "adopt": """
$ toolkit adopt resnet18.onnx --preset imagenet --labels imagenet.txt
resnet18.adopted.onnx: 1000 classes, like the original on 8 images (largest difference 2.4e-07, same top-1 100.00%)
""",
    "infer": """
$ toolkit infer cat.jpg
cat.jpg: Cat 97.1 %, Dog 2.9 %

$ toolkit infer photos/ --out labels.csv
1,204 files: Cat 611 · Dog 589 · unsure 3 · failed 1 (cpu) -> labels.csv
""",
    "merge": """
$ toolkit merge labels-1.csv labels-2.csv --out labels.csv
1,204 files: Cat 611 · Dog 589 · unsure 3 · failed 1 (2 shards) -> labels.csv
""",
    "view": """
$ toolkit view labels.csv
labels.html: 1,204 of 1,204 files shown
""",
    "review": """
$ toolkit review labels.csv
http://127.0.0.1:41873/Zk3vX0.../
corrections.csv: 41 images decided
""",
    "sort": """
$ toolkit sort labels.csv --into sorted
sorted: 1,204 files placed: Cat 611 · Dog 589 · unsure 3 · error 1

$ toolkit sort --undo --into sorted
sorted: 1,204 files taken back
""",
    "evaluate": """
$ toolkit evaluate PetImages-split --fail-under accuracy=0.9
PetImages-split is a split tree: evaluating validation
PetImages-split/validation: none of the images is one that the model was trained on (compared by their bytes)
121 images, accuracy 0.9917, ... (cpu) -> evaluation/report.html
""",
    "embed": """
$ toolkit embed photos/ --out features.npy
1,204 files: 1,280 features each, 1 failed -> features.npy
""",
    "bench": """
$ toolkit bench model photos/
...
best: toolkit infer IMAGES --out labels.csv --runtime openvino
      about 9,100,000 images per night (8 h)
""",
    "inspect": """
$ toolkit inspect model/model.onnx
file        model/model.onnx
format      ONNX
...
classes        0  Cat
               1  Dog
""",
    "doctor": """
$ toolkit doctor
ok     toolkit                 0.1.0, Python 3.11.7 on Linux x86_64
ok     processors              2 usable by this process
off    CUDA                    no NVIDIA driver (libcuda.so.1)
                               -> install NVIDIA's driver, 580 or later, or leave --device out
...
""",
    "cache": """
$ toolkit cache --older-than 30d --clear
decoded images of flower_photos  303.4 MB  41 days
/home/me/.cache/toolkit-images: 303.4 MB removed
""",
    "demo": """
$ toolkit demo
2,000 Fashion-MNIST images in ten class folders: toolkit-demo/fashion
...
Done in 84 s. The rows are in toolkit-demo/labels.csv. Open the report:
toolkit-demo/report/report.html
""",
    "list": """
$ toolkit recipe list
transfer           160x160x3   3,419,429  Transfer learning, EfficientNet-Lite0: the default
...
""",
    "show": """
$ toolkit recipe show flowers
# Five kinds of flowers: three convolutions, logits at the end.
schema = 1
title = "Flowers, 180x180, three convolutions"
...
""",
    "copy": """
$ toolkit recipe copy flowers mine.toml
mine.toml: change it, then: toolkit train DATA --recipe mine.toml
""",
}
"""Command -> paragraphs that stand at the end of its help as they are."""
