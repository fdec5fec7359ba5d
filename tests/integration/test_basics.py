import httpx2


async def test_chat_answers_with_a_tool(client: httpx2.AsyncClient) -> None:
    response = await client.post("/chat", json={"message": "What is the current server time?"})
    assert response.status_code == 200, response.text
    assert "[MCP Server Time]" in response.json()["answer"]
