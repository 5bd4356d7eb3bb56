"""Images behind URLs: objects of S3, Google Cloud Storage and Azure, and files of web servers."""
