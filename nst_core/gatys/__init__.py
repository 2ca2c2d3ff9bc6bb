"""Style transfer by optimising the picture itself (Gatys, Ecker, Bethge 2016, and successors).

Import from the modules: `config` and `presets` describe an optimisation and never load torch, `optimizer` runs it.
"""
