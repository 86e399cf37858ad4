"""What pictures and tables call the parts of a model."""

__all__ = ["COMPONENTS"]

COMPONENTS = {
    "wte": "token embedding (wte)",
    "wpe": "positions (wpe)",
    "attention": "attention",
    "mlp": "MLP",
    "layer_norm": "LayerNorm",
    "lm_head": "output matrix (lm_head)",
}
