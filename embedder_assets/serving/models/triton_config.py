"""The ``config.pbtxt`` of a model: what Triton and our backend are told of it."""

from __future__ import annotations

from embedder_assets.serving.models.description import ModelDescription
from embedder_assets.settings import Device

BACKEND = "text_encoder"


def render_config(description: ModelDescription, device: Device) -> str:
    """The ``config.pbtxt`` of a model on a device, generated from its description."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    group = pb.ModelInstanceGroup
    kind = group.KIND_GPU if description.device(device) == "gpu" else group.KIND_CPU
    config = pb.ModelConfig(
        name=description.name,
        backend=BACKEND,
        max_batch_size=512,
        input=[pb.ModelInput(name=name, data_type=pb.TYPE_STRING, dims=[1]) for name in description.inputs],
        output=[
            pb.ModelOutput(name=name, data_type=pb.DataType.Value(data_type), dims=[length])
            for name, (data_type, length) in description.outputs.items()
        ],
        # One instance: the session is shared by worker threads, so the weights are in memory once.
        instance_group=[group(count=1, kind=kind)],
        dynamic_batching=pb.ModelDynamicBatching(),
    )
    parameters = description.parameters(device) | {
        "precision": description.precision_on(device),
        "threads": str(description.threads),
    }
    for key, value in sorted(parameters.items()):
        config.parameters[key].string_value = value
    text: str = text_format.MessageToString(config)
    return f"# Generated from model.toml by `embedder models build`.\n{text}"
