"""How deep a GraphQL document goes, and how many fields it asks for with its fragments written out.

Each fragment is measured once, so that fragments which name each other twice cost nothing here.
"""

from __future__ import annotations

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from sweepctl.server.bounds import MAX_QUERY_DEPTH, MAX_QUERY_FIELDS

_Size = tuple[int, int]
"""The fields, and how deep they are nested."""


def check_size(document: DocumentNode) -> list[GraphQLError]:
    """Say what is too large in a valid document: its fragments are there and name no circle."""
    named = (node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    sizes = _Sizes({node.name.value: node for node in named})
    for node in document.definitions:
        if not isinstance(node, OperationDefinitionNode):
            continue
        fields, depth = sizes.of(node.selection_set)
        if depth > MAX_QUERY_DEPTH:
            words = f"the query is nested {depth} deep, over {MAX_QUERY_DEPTH}"
            return [GraphQLError(words)]
        if fields > MAX_QUERY_FIELDS:
            words = f"the query asks for {fields} fields, over {MAX_QUERY_FIELDS}"
            return [GraphQLError(f"{words}: ask in several queries")]
    return []


class _Sizes:
    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Size] = {}

    def of(self, selections: SelectionSetNode | None) -> _Size:
        """Give the size of what stands in braces."""
        fields = depth = 0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                below = self.of(node.selection_set)
                size = below[0] + 1, below[1] + 1
            elif isinstance(node, FragmentSpreadNode):
                size = self._of_fragment(node.name.value)
            else:
                assert isinstance(node, InlineFragmentNode)
                size = self.of(node.selection_set)
            fields, depth = fields + size[0], max(depth, size[1])
        return fields, depth

    def _of_fragment(self, name: str) -> _Size:
        if name not in self._known:
            self._known[name] = self.of(self._fragments[name].selection_set)
        return self._known[name]
