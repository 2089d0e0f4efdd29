-- As a superuser, once. Then give both a password (in psql: \password).
CREATE ROLE {owner} LOGIN;
CREATE ROLE {role} LOGIN;
CREATE DATABASE {database} OWNER {owner};
REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {role};
