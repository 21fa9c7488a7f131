"""A reranker in tools, agents, workflows and other parts of LlamaIndex that are no engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.memory import VectorMemoryBlock
from llama_index.core.objects import ObjectIndex
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import QueryEngineTool
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import VectorStoreQueryResult
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

from llama_index_support import (
    QUERY,
    TEXTS,
    Ask,
    Candidates,
    ids,
    local,
    memory,
    three,
    titles,
    tool_of,
)

# agents and workflows use attributes of pydantic, and parts of their own, that are deprecated
deprecated = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Agentic(MockLLM, FunctionCallingLLM):
    """A model that calls the tool it is given, once, and then answers with what that said."""

    @property
    def metadata(self) -> LLMMetadata:
        """What the agent asks for."""
        return LLMMetadata(is_function_calling_model=True, is_chat_model=True)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: Any = None,
        chat_history: Any = None,
        *_: Any,
        **__: Any,
    ) -> dict[str, Any]:
        return {"messages": chat_history}

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **_: Any
    ) -> AsyncGenerator[ChatResponse]:
        """Answer with the last word of a tool, or with nothing."""
        said = [message.content or "" for message in messages if message.role == "tool"]

        async def stream() -> AsyncGenerator[ChatResponse]:
            answer = ChatMessage(role="assistant", content="".join(said[-1:]))
            yield ChatResponse(message=answer, delta=answer.content)

        return stream()

    def get_tool_calls_from_response(
        self, response: ChatResponse, *_: Any, **__: Any
    ) -> list[ToolSelection]:
        """Call the tool where nothing was answered."""
        call = ToolSelection(tool_id="1", tool_name="search", tool_kwargs={"input": QUERY})
        return [] if response.message.content else [call]


class Search(Workflow):
    """A workflow of a user's own."""

    @step
    async def search(self, event: StartEvent) -> StopEvent:
        """Rerank."""
        kept = await event.reranker.apostprocess_nodes(three(), query_str=QUERY)
        return StopEvent(result=ids(kept))


class Remembering(SimpleVectorStore):
    """A vector store that hands out whole nodes, as a memory block needs it."""

    stores_text: bool = True

    def query(self, query: Any, **_: Any) -> VectorStoreQueryResult:
        """Find the same three."""
        nodes = [found.node for found in three()]
        return VectorStoreQueryResult(nodes=nodes, similarities=[0.9, 0.5, 0.1])


def test_as_a_tool(ask: Ask) -> None:
    """RetrieverTool gives the reranked texts, and the reranked nodes as its raw output."""
    output = ask(tool_of([local(top_n=1)]), "call", input=QUERY)

    assert ids(output.raw_output) == ["bicycle"]
    assert "a red bicycle" in output.content
    assert "car" not in output.content


def test_as_an_engines_tool(ask: Ask) -> None:
    """QueryEngineTool answers out of the reranked nodes."""
    engine = RetrieverQueryEngine.from_args(
        Candidates(), llm=MockLLM(), node_postprocessors=[local(top_n=1)]
    )

    output = ask(QueryEngineTool.from_defaults(engine), "call", QUERY)

    assert titles(output.raw_output) == ["bicycle"]


@deprecated
@pytest.mark.parametrize("whole", [False, True], ids=["agent", "workflow"])
async def test_as_an_agents_tool(*, whole: bool) -> None:
    """An agent that searches is told the reranked texts and no others."""
    tool, model = tool_of([local(top_n=1)]), Agentic(max_tokens=None)
    agent = FunctionAgent(name="a", description="a", tools=[tool], llm=model)
    asked = AgentWorkflow(agents=[agent]) if whole else agent

    answer = await asked.run(user_msg="Which vehicle?", memory=memory())

    assert "a red bicycle" in str(answer)
    assert "car" not in str(answer)


@deprecated
async def test_in_a_workflow() -> None:
    """A step of a workflow awaits it with a query as text."""
    assert await Search().run(reranker=local(top_n=2)) == ["bicycle", "van"]


def test_in_a_retriever_of_objects(ask: Ask) -> None:
    """ObjectRetriever, which calls the sync method on its async path, gives the best objects."""
    objects = ObjectIndex.from_objects(
        list(TEXTS.values()), index_cls=VectorStoreIndex, embed_model=MockEmbedding(embed_dim=2)
    )
    retriever = objects.as_retriever(similarity_top_k=3, node_postprocessors=[local(top_n=2)])

    assert ask(retriever, "retrieve", QUERY) == ["a red bicycle", "a red van"]


def test_in_an_evaluation(ask: Ask) -> None:
    """RetrieverEvaluator, which calls the sync method on a loop, measures the reranked order."""
    evaluator = RetrieverEvaluator.from_metric_names(
        ["mrr"], retriever=Candidates(), node_postprocessors=[local(top_n=2)]
    )

    result = ask(evaluator, "evaluate", QUERY, ["bicycle"])

    assert result.retrieved_ids == ["bicycle", "van"]
    assert result.metric_vals_dict == {"mrr": 1.0}


async def test_in_a_memory() -> None:
    """VectorMemoryBlock remembers the reranked nodes, best first."""
    block = VectorMemoryBlock(
        vector_store=Remembering(),
        embed_model=MockEmbedding(embed_dim=2),
        node_postprocessors=[local(top_n=2)],
    )

    assert await block.aget([ChatMessage(QUERY)]) == "a red bicycle\n\na red van"
