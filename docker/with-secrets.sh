#!/bin/sh
# Runs a command with the database's password: Dagster takes it from the environment, Compose gives it as a file.
set -eu
if [ -e /run/secrets/postgres_password ]; then
  DAGSTER_POSTGRES_PASSWORD=$(cat /run/secrets/postgres_password)
  export DAGSTER_POSTGRES_PASSWORD
fi
exec "$@"
