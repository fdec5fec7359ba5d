"""Local work, never deployed: a host for machines without Core Tools, and a stand-in for OpenAI."""
