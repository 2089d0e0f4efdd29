-- Run this once as a superuser. Then set a password for both roles (in psql: \password).
CREATE ROLE {owner} LOGIN;
CREATE ROLE {role} LOGIN;
CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8';
REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {role};
