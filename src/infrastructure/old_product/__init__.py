"""What the old product has left in SQLite and Redis.

Its manual describes the API and says only that conversations are in both; the forms are those that its versions write:

- SQLite: `users(id, username, password)`, the last a bcrypt hash; `conversations(id, title, user_id, create_time)`, the
  id a number from 0 to 999,999 written as text, the time in seconds since 1970. Older versions have no `create_time`.
- Redis: under `conversation:<id>` a JSON object with `conversation_id`, `title`, `model`, `api_key` (in clear),
  `created_time` (seconds; RFC 3339 in old versions) and `messages`, each with `role`, `content` and `message_id`, in
  order, the first one a system message with the id 0. Versions before that have the messages, as JSON too, in a list
  under `conversation:<id>:messages`. `jwt:<token>` are sessions, which end with the move.

A column or a key that is missing is taken for nothing. The order is that of the rows. Conversations that are only in
Redis are nobody's, as the owner is in SQLite alone, or were deleted; those that are only in SQLite have lost all that
was said. Knowledge bases are in neither: a service of its own had them, and their documents have to be uploaded again.
"""
