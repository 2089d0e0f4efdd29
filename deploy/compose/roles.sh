#!/bin/sh
# Creates the roles and the database of docs/howto/postgresql.md. PostgreSQL's image runs it if the volume is empty.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 \
    --set=owner_password="$DATABASE_OWNER_PASSWORD" --set=password="$DATABASE_PASSWORD" \
    --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
CREATE ROLE saldo_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE saldo LOGIN PASSWORD :'password';
CREATE DATABASE saldo OWNER saldo_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE CONNECT, TEMPORARY ON DATABASE saldo FROM PUBLIC;
GRANT CONNECT ON DATABASE saldo TO saldo;
SQL
