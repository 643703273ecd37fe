import pytest
from django.test import Client


@pytest.mark.django_db
def test_a_process_that_can_answer_says_ok(client: Client) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response["Cache-Control"] == "no-store"
