"""The name under which conversion is known outside; it lives in `t2h.official.convert`."""

from t2h.official.convert import augmented_unet, from_official, read_official, save_pipeline, to_official

__all__ = ["augmented_unet", "from_official", "read_official", "save_pipeline", "to_official"]
