"""The label tree's parts: codes, nodes, layout, its document, costs in it."""
