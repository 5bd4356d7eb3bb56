"""An int8 TFLite file, and what gives back the accuracy that rounding costs."""
