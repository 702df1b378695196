"""The model repository on disk: what a model is, and how it is added, built, checked and removed.

``description`` is ``model.toml`` with the fingerprint, ``configured`` the models that the settings name,
``checkpoint`` and ``sources`` the weights and where they come from, ``add``, ``build`` and ``remove`` the commands,
and ``golden`` the reference values; graphs are made in ``onnx``. Nothing here knows a running server: that is
``verify``'s and ``client``'s. Others may import every module.
"""
