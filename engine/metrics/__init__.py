"""What a picture, or a set of pictures, is worth: functions of arrays.

`catalog` says each metric's label, unit and direction; `pixel` measures picture by picture,
`distribution` set against set, `features` (the one that is not pure) makes the feature matrices.
"""
