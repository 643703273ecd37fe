"""Header, Tensor: what a blob says is inside it.

Both belong to the blob, not to the path: a checkpoint that ten forks share is read once.
"""

from django.db import models

from registry.models.blob import Blob
from registry.models.rules import not_negative


class Header(models.Model):
    """The header of one safetensors or GGUF blob, or the reason why it was refused."""

    blob = models.OneToOneField(Blob, on_delete=models.CASCADE, related_name="header")
    format = models.CharField(max_length=20)
    n_tensors = models.IntegerField(default=0)
    parameter_count = models.BigIntegerField(default=0)
    metadata = models.JSONField(default=dict, help_text="long arrays are summarised: type, length, first few")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    inspected_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            not_negative("header", "n_tensors"),
            not_negative("header", "parameter_count"),
        ]


class Tensor(models.Model):
    """Name, dtype or quantization type, shape, byte range in its file."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="tensors")
    position = models.IntegerField(help_text="order in the file, from 0")
    name = models.CharField(max_length=500)
    dtype = models.CharField(
        max_length=20, help_text="safetensors dtype or ggml type, as its format spells it"
    )
    shape = models.JSONField(help_text="row-major")
    start = models.BigIntegerField(help_text="first byte in the file")
    length = models.BigIntegerField(help_text="bytes")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["blob", "name"], name="tensor_once"),
            not_negative("tensor", "start"),
            not_negative("tensor", "length"),
        ]
        ordering = ["blob", "position"]

    def __str__(self) -> str:
        return self.name
