#!/bin/sh
# Writes the secrets of `docker compose --profile scaled` into ./.env, each made anew, unless there is one already.
set -eu

if [ -e .env ]; then
  echo "There is an .env already; it stays as it is." >&2
  exit 1
fi
umask 077
hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
cat >.env.new <<END
POSTGRES_PASSWORD=$(hex 24)
REDIS_PASSWORD=$(hex 24)
S3_SECRET_KEY=$(hex 24)
JWT_SECRET=$(hex 32)
SECRETS_KEY=$(hex 32)
OPENAI_API_KEY=${OPENAI_API_KEY:-}
ZHIPU_API_KEY=${ZHIPU_API_KEY:-}
END
mv .env.new .env
