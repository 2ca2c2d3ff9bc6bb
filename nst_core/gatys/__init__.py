"""Style transfer by optimising the picture itself (Gatys, Ecker, Bethge 2016, and successors).

Import from the modules: `config` and `presets` say what to do and never load torch, `optimizer` does it.
"""
