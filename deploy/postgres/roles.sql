-- Roles for Consolidator in Postgres, to be run by whoever may create roles, in the database that is to hold the tables:
--   psql --set ON_ERROR_STOP=1 --file roles.sql 'postgres://…/app'
--
-- consolidator_owner   makes and owns the consolidator's schemas: for `consolidator run`, and for every command. All that it needs of
--                      the database is to create schemas.
-- consolidator_writer  only where the worker that runs all the time shall own nothing: it folds events into tables that are there, and
--                      can neither make nor drop any. The owner then carries out what does (first start, `rebuild`, `switch`, `drop`).
-- Readers are roles of your own: name them in postgres.readers.
--
-- Passwords: \password consolidator_owner

create role consolidator_owner login;
create role consolidator_writer login;

do $$ begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect, create on database %I to consolidator_owner', current_database());
    execute format('grant connect on database %I to consolidator_writer', current_database());
end $$;

-- What the owner makes from now on, the writer may fill: nothing more.
alter default privileges for role consolidator_owner grant usage on schemas to consolidator_writer;
alter default privileges for role consolidator_owner grant select, insert, update, delete on tables to consolidator_writer;
alter default privileges for role consolidator_owner grant usage on sequences to consolidator_writer;
