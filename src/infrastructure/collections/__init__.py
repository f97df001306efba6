"""Collections of documents, questions and judgements in folders."""
