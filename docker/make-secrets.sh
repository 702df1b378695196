#!/bin/sh
# Makes the passwords of docker-compose.yml, those that are not there yet.
set -eu
folder=$(dirname "$0")/secrets
# The folder keeps others of this machine out; the containers, which run as other users, get the files alone.
mkdir -p -m 700 "$folder"
umask 022
for name in postgres_password metrics_password grafana_password; do
  [ -e "$folder/$name" ] && continue
  password=$(openssl rand -hex 24)
  echo "$password" > "$folder/$name"
done
