"""Executes GraphQL: W&B's schema, and the lenient layer before it.

A client that knows more than this server is answered, not refused: unknown fields are null, unknown
arguments, input fields, variables and fragments on types that no object has are dropped, each
logged once. A mutation is not: to answer null would say that it was done; nor is a field for what
this server does not have at all (`unsupported`). `resolvers` fills the schema; nothing here knows
about sweeps or runs.
"""

from __future__ import annotations

import importlib.resources
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    REMOVE,
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    NameNode,
    ObjectFieldNode,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    VisitorAction,
    build_schema,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_input_type,
    is_leaf_type,
    parse,
    type_from_ast,
    validate,
    visit,
)
from graphql.validation import (
    ExecutableDefinitionsRule,
    FragmentsOnCompositeTypesRule,
    KnownFragmentNamesRule,
    KnownTypeNamesRule,
    LoneAnonymousOperationRule,
    NoFragmentCyclesRule,
    NoUndefinedVariablesRule,
    ProvidedRequiredArgumentsRule,
    UniqueFragmentNamesRule,
    UniqueOperationNamesRule,
)

from sweepctl.server.bounds import MAX_QUERY_CHARACTERS, accounted, spend
from sweepctl.server.graphql.document_size import check_size
from sweepctl.server.graphql.unsupported import unknown_mutation, unsupported_field

Resolver = Callable[..., Any]
Resolvers = Mapping[str, Mapping[str, Resolver]]

_SCHEMAS = ("schema.graphql", "artifacts.graphql")
_UNKNOWN_FIELD = "_unknown"
_MAX_TOKENS = 10_000
_KEPT_CHARACTERS = 1 << 20
"""The text of the documents that are kept ready."""

_RULES = (
    ExecutableDefinitionsRule,
    FragmentsOnCompositeTypesRule,
    KnownFragmentNamesRule,
    KnownTypeNamesRule,
    LoneAnonymousOperationRule,
    NoFragmentCyclesRule,
    NoUndefinedVariablesRule,
    ProvidedRequiredArgumentsRule,
    UniqueFragmentNamesRule,
    UniqueOperationNamesRule,
)
"""The rules that a document must meet after everything unknown was removed."""


class DocumentError(Exception):
    """The query is not valid GraphQL or does not fit the schema; the client gets `errors`."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Executor:
    """Executes operations against W&B's schema; safe to use from any thread."""

    def __init__(self, resolvers: Resolvers, log: Callable[[str], None]) -> None:
        folder = importlib.resources.files(__package__)
        texts = [folder.joinpath(name).read_text("utf-8") for name in _SCHEMAS]
        self._schema = build_schema("\n".join(texts))
        self._log = log
        self._logged: set[str] = set()
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()
        self._kept_characters = 0
        self._guard = threading.Lock()
        for type_name, fields in resolvers.items():
            kind = self._schema.type_map[type_name]
            if is_abstract_type(kind):
                kind.resolve_type = fields["__typename"]
                continue
            assert isinstance(kind, GraphQLObjectType)
            for field_name, resolver in fields.items():
                kind.fields[field_name].resolve = resolver
        for kind in self._schema.type_map.values():
            if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
                kind.fields[_UNKNOWN_FIELD] = GraphQLField(
                    GraphQLString, resolve=lambda source, info: None
                )

    def execute(
        self,
        query: str,
        variables: Mapping[str, Any],
        operation_name: str | None,
        context: object,
    ) -> ExecutionResult:
        """Execute one operation; a DocumentError when the document cannot be executed at all."""
        document = self._document(query)
        operation = _operation(document, operation_name)
        known = {} if operation is None else self._known_variables(operation, variables)
        with accounted():
            return execute_sync(
                self._schema,
                document,
                context_value=context,
                variable_values=known,
                # The Python side of W&B's client sends "" for the only operation of a document.
                operation_name=operation_name or None,
                middleware=[_counted],
            )

    def _document(self, query: str) -> DocumentNode:
        if len(query) > MAX_QUERY_CHARACTERS:
            words = f"the query has {len(query)} characters, over {MAX_QUERY_CHARACTERS}"
            raise DocumentError([GraphQLError(words)])
        with self._guard:
            kept = self._documents.get(query)
            if kept is not None:
                self._documents.move_to_end(query)
                return kept
        try:
            document, unknown = self._without_unknown(parse(query, max_tokens=_MAX_TOKENS))
            errors = unknown or validate(self._schema, document, _RULES) or check_size(document)
        except GraphQLError as error:
            raise DocumentError([error]) from error
        except RecursionError as error:
            raise DocumentError([GraphQLError("the query is nested too deeply")]) from error
        if errors:
            raise DocumentError(errors)
        with self._guard:
            if query not in self._documents:
                self._documents[query] = document
                self._kept_characters += len(query)
            while self._kept_characters > _KEPT_CHARACTERS and len(self._documents) > 1:
                self._kept_characters -= len(self._documents.popitem(last=False)[0])
        return document

    def _without_unknown(self, document: DocumentNode) -> tuple[DocumentNode, list[GraphQLError]]:
        """Give the document without what is unknown, and an error for each unknown mutation."""
        cleaner = _Cleaner(self._schema, TypeInfo(self._schema), self._note)
        cleaned: DocumentNode = visit(document, cleaner.definitions_pass())
        cleaned = visit(cleaned, TypeInfoVisitor(cleaner.type_info, cleaner))
        return cleaned, cleaner.errors

    def _known_variables(
        self, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Remove unknown input fields from the values of variables."""
        known = {}
        for definition in operation.variable_definitions or ():
            name = definition.variable.name.value
            kind = type_from_ast(self._schema, definition.type)
            if name in variables and is_input_type(kind):
                known[name] = self._known_value(variables[name], kind)
        return known

    def _known_value(self, value: Any, kind: GraphQLInputType) -> Any:
        while isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        if isinstance(kind, GraphQLList) and isinstance(value, list):
            return [self._known_value(item, kind.of_type) for item in value]
        if not isinstance(kind, GraphQLInputObjectType) or not isinstance(value, dict):
            return value
        known = {}
        for name, item in value.items():
            if name in kind.fields:
                known[name] = self._known_value(item, kind.fields[name].type)
            else:
                self._note(f"input field {kind.name}.{name}")
        return known

    def _note(self, what: str) -> None:
        with self._guard:
            if what in self._logged or len(self._logged) > 10_000:
                return
            self._logged.add(what)
        self._log(f"unknown {what[:200]}: ignored")


def _counted(resolve: Resolver, source: object, info: object, **arguments: Any) -> Any:
    """Resolve a field on the account of its request."""
    spend(1)
    found = resolve(source, info, **arguments)
    if type(found) is str:
        spend(0, len(found))
    return found


class _Cleaner(Visitor):
    """Removes from a document what the schema does not know."""

    def __init__(
        self, schema: GraphQLSchema, type_info: TypeInfo, note: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.type_info = type_info
        self._schema = schema
        self._note = note
        self._dropped: set[str] = set()
        self._dropped_fragments: set[str] = set()
        self.errors: list[GraphQLError] = []

    def definitions_pass(self) -> Visitor:
        """Give the visitor that goes first and drops variables and fragments of unknown types."""
        cleaner = self

        class Definitions(Visitor):
            def enter_variable_definition(
                self, node: VariableDefinitionNode, *_: Any
            ) -> VisitorAction:
                if is_input_type(type_from_ast(cleaner._schema, node.type)):
                    return None
                cleaner._note(f"type of the variable ${node.variable.name.value}")
                cleaner._dropped.add(node.variable.name.value)
                return REMOVE

            def enter_fragment_definition(
                self, node: FragmentDefinitionNode, *_: Any
            ) -> VisitorAction:
                if cleaner._is_known(node.type_condition.name.value):
                    return None
                cleaner._dropped_fragments.add(node.name.value)
                return REMOVE

        return Definitions()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> VisitorAction:
        return REMOVE if node.name.value in self._dropped_fragments else None

    def enter_inline_fragment(self, node: InlineFragmentNode, *_: Any) -> VisitorAction:
        condition = node.type_condition
        if condition is None or self._is_known(condition.name.value):
            return None
        return REMOVE

    def _is_known(self, type_name: str) -> bool:
        """Say whether an object could be of this type; one that no type here has matches none."""
        if type_name in self._schema.type_map:
            return True
        self._note(f"type {type_name} of a fragment")
        return False

    def enter_field(self, node: FieldNode, *_: Any) -> FieldNode | None:
        field = self.type_info.get_field_def()
        parent = self.type_info.get_parent_type()
        if parent is None:
            return None
        if field is None and parent is self._schema.mutation_type:
            self.errors.append(GraphQLError(unknown_mutation(node.name.value)))
            return _null_field(node)
        if field is None and (why := unsupported_field(parent.name, node.name.value)):
            self.errors.append(GraphQLError(why))
            return _null_field(node)
        if field is None:
            self._note(f"field {parent.name}.{node.name.value}")
            return _null_field(node)
        is_leaf = is_leaf_type(get_named_type(field.type))
        if is_leaf and node.selection_set:
            self._note(f"fields of {parent.name}.{node.name.value}")
            return _null_field(node)
        if not is_leaf and not node.selection_set:
            return _null_field(node)
        return None

    def enter_argument(self, node: ArgumentNode, *_: Any) -> VisitorAction:
        if self._is_dropped(node.value):
            return REMOVE
        if self.type_info.get_argument() is None:
            parent = self.type_info.get_parent_type()
            self._note(f"argument {node.name.value} on a field of {parent and parent.name}")
            return REMOVE
        return None

    def enter_object_field(self, node: ObjectFieldNode, *_: Any) -> VisitorAction:
        if self._is_dropped(node.value):
            return REMOVE
        if self.type_info.get_input_type() is None:
            self._note(f"input field {node.name.value}")
            return REMOVE
        return None

    def enter_directive(self, node: DirectiveNode, *_: Any) -> VisitorAction:
        if self.type_info.get_directive() is None:
            self._note(f"directive @{node.name.value}")
            return REMOVE
        return None

    def _is_dropped(self, value: object) -> bool:
        return isinstance(value, VariableNode) and value.name.value in self._dropped


def _null_field(node: FieldNode) -> FieldNode:
    """Give a field that answers null under the same key."""
    return FieldNode(
        alias=node.alias or node.name,
        name=NameNode(value=_UNKNOWN_FIELD),
        arguments=(),
        directives=node.directives,
    )


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode) and (
            not name or (definition.name is not None and definition.name.value == name)
        ):
            return definition
    return None
