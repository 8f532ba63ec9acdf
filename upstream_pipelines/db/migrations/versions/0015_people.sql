-- People log in with a password and are members of customers with a role. A transaction of the API is that of a customer
-- (app.customer_id) or that of a person (app.person_id); in that of a customer a person's other customers stay hidden.

CREATE TABLE people (
    person_id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email            text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    password_hash    text CHECK (password_hash LIKE '$argon2id$%'),
    password_set_at  timestamptz,
    -- A new password without the old one: by the operator, for a day.
    reset_sha256     bytea UNIQUE CHECK (length(reset_sha256) = 32),
    reset_expires_at timestamptz,
    disabled_at      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((password_hash IS NULL) = (password_set_at IS NULL)),
    CHECK ((reset_sha256 IS NULL) = (reset_expires_at IS NULL))
);
CREATE UNIQUE INDEX people_email ON people (lower(email));

-- A membership holds from `joined_at` on: until then it is an invitation, taken up with its token and the person's password.
CREATE TABLE members (
    customer_id           bigint NOT NULL REFERENCES customers,
    person_id             uuid NOT NULL REFERENCES people,
    role                  text NOT NULL CHECK (role IN ('owner', 'admin', 'analyst', 'viewer')),
    -- What this customer calls the person is no other customer's business.
    display_name          text NOT NULL DEFAULT '' CHECK (length(display_name) <= 200),
    invited_at            timestamptz NOT NULL DEFAULT now(),
    joined_at             timestamptz,
    -- Who made the invitation, NULL for an operator; it ends with their right to. No foreign key: they may be gone.
    invited_by            uuid,
    invitation_sha256     bytea UNIQUE CHECK (length(invitation_sha256) = 32),
    invitation_expires_at timestamptz,
    -- Wrong passwords that came with the invitation: whoever made it holds its token and could try the person's.
    invitation_failures   smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (customer_id, person_id),
    CHECK ((invitation_sha256 IS NULL) = (invitation_expires_at IS NULL))
);
CREATE INDEX members_person ON members (person_id);

-- A log-in and all tokens that came of it (a family): it ends as a whole.
CREATE TABLE login_sessions (
    session_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    person_id  uuid NOT NULL REFERENCES people,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    ending     text CHECK (ending IN ('logout', 'reuse', 'password', 'disabled')),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
);
CREATE INDEX login_sessions_person ON login_sessions (person_id);

CREATE TABLE session_tokens (
    token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
    session_id   uuid NOT NULL REFERENCES login_sessions ON DELETE CASCADE,
    person_id    uuid NOT NULL REFERENCES people,
    kind         text NOT NULL CHECK (kind IN ('access', 'refresh')),
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz
);
CREATE INDEX session_tokens_session ON session_tokens (session_id);

-- Who did what. No foreign key: the trail outlives what it speaks of. `details` hold no word of a claim.
CREATE TABLE audit_log (
    customer_id bigint,
    audit_id    uuid NOT NULL DEFAULT gen_random_uuid(),
    -- An infinite one would end every page at itself, and no program reads it.
    at          timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(at)),
    actor_kind  text NOT NULL CHECK (actor_kind IN ('person', 'token', 'operator')),
    actor_id    text NOT NULL CHECK (length(actor_id) BETWEEN 1 AND 100),
    actor_name  text NOT NULL DEFAULT '' CHECK (length(actor_name) <= 254),
    action      text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    entity_kind text NOT NULL CHECK (entity_kind ~ '^[a-z_]+$'),
    entity_id   text NOT NULL CHECK (length(entity_id) <= 200),
    request_id  text CHECK (length(request_id) <= 64),
    details     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object' AND length(details::text) <= 4000),
    -- Read backwards it gives a customer's acts, the newest first.
    UNIQUE NULLS NOT DISTINCT (customer_id, at, audit_id)
);
-- Of a customer that is gone the trail alone knows the number.
CREATE INDEX audit_log_deletions ON audit_log (entity_id) WHERE action IN ('customer.deletion_begun', 'customer.deleted');

-- Append-only: nobody has the right to change or remove a row, not even the table's owner, who has every right unless it
-- is taken away.
REVOKE ALL ON audit_log FROM upstream_owner;
-- Neither says when it was: the database does.
GRANT SELECT, INSERT (customer_id, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id, details)
   ON audit_log TO upstream_pipeline, upstream_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON people, members, login_sessions, session_tokens TO upstream_pipeline;
GRANT SELECT (person_id, email, password_set_at, disabled_at, created_at) ON people TO upstream_api;
GRANT SELECT (customer_id, person_id, role, display_name, invited_at, invited_by, joined_at, invitation_expires_at)
   ON members TO upstream_api;
-- Joining and the opening of log-ins are the functions' below alone.
GRANT INSERT (customer_id, person_id, role, display_name, invited_by, invitation_sha256, invitation_expires_at),
      UPDATE (role, display_name, invited_at, invited_by, invitation_sha256, invitation_expires_at, invitation_failures),
      DELETE ON members TO upstream_api;
GRANT SELECT, UPDATE (ended_at, ending) ON login_sessions TO upstream_api;
GRANT UPDATE (name) ON customers TO upstream_api;

DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY['people', 'members', 'login_sessions', 'session_tokens', 'audit_log'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', made);
        -- Without FORCE the owner of a table passes by its policies.
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', made);
        EXECUTE format('CREATE POLICY pipeline ON %I TO upstream_pipeline USING (true) WITH CHECK (true)', made);
    END LOOP;
END
$$;
CREATE POLICY customer ON members TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
CREATE POLICY person ON members FOR SELECT TO upstream_api
    USING (nullif(current_setting('app.customer_id', true), '') IS NULL
           AND person_id = nullif(current_setting('app.person_id', true), '')::uuid);
-- Those one is told of: oneself, and the members that the transaction sees.
CREATE POLICY fellow ON people FOR SELECT TO upstream_api
    USING (person_id = nullif(current_setting('app.person_id', true), '')::uuid
           OR person_id IN (SELECT m.person_id FROM members AS m));
CREATE POLICY person ON login_sessions TO upstream_api
    USING (person_id = nullif(current_setting('app.person_id', true), '')::uuid);
CREATE POLICY customer ON audit_log FOR SELECT TO upstream_api
    USING (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint);
-- The API writes no act of an operator, and of people those of the one whom the transaction is for.
CREATE POLICY act ON audit_log FOR INSERT TO upstream_api
    WITH CHECK (customer_id = nullif(current_setting('app.customer_id', true), '')::bigint
                AND (actor_kind = 'token'
                     OR (actor_kind = 'person' AND actor_id = nullif(current_setting('app.person_id', true), ''))));
-- What a person does with the log-in belongs to no customer.
CREATE POLICY person ON audit_log FOR INSERT TO upstream_api
    WITH CHECK (customer_id IS NULL AND actor_kind = 'person'
                AND actor_id = nullif(current_setting('app.person_id', true), ''));
-- Customers of the person, by the members that the transaction sees.
CREATE POLICY member ON customers FOR SELECT TO upstream_api
    USING (customer_id IN (SELECT m.customer_id FROM members AS m WHERE m.joined_at IS NOT NULL));

-- Before a person is known row-level security shows nothing. These functions are the only way round it; they run as
-- upstream_pipeline and tell no more than the next step needs.

-- Who may log in under an e-mail, with the hash to check the password against.
CREATE FUNCTION find_login(candidate text) RETURNS TABLE (person_id uuid, email text, password_hash text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT p.person_id, p.email, p.password_hash FROM people AS p
     WHERE lower(p.email) = lower(candidate) AND p.disabled_at IS NULL AND p.password_hash IS NOT NULL
$$;

-- Whose access token it is, and the role in a customer, NULL where the person is no member of an active one by that slug.
CREATE FUNCTION authenticate_person(candidate bytea, of_slug text)
    RETURNS TABLE (person_id uuid, email text, session_id uuid, customer_id bigint, role text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT p.person_id, p.email, s.session_id, m.customer_id, m.role
      FROM session_tokens AS t
      JOIN login_sessions AS s ON s.session_id = t.session_id AND s.ended_at IS NULL
      JOIN people AS p ON p.person_id = s.person_id AND p.disabled_at IS NULL
      LEFT JOIN customers AS c ON c.slug = of_slug AND c.status = 'active'
      LEFT JOIN members AS m ON m.customer_id = c.customer_id AND m.person_id = p.person_id AND m.joined_at IS NOT NULL
     WHERE t.token_sha256 = candidate AND t.kind = 'access' AND t.expires_at > now()
$$;

-- Open a log-in with its first tokens; NULL where the password is no longer the one that was checked, or the person was
-- disabled meanwhile. The person's row is held: a reset or a disabling waits, and then finds the log-in and ends it.
CREATE FUNCTION open_session(of_person uuid, checked_hash text, longest interval, new_access bytea, access_life interval,
                             new_refresh bytea, refresh_life interval) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    opened uuid;
BEGIN
    PERFORM 1 FROM people AS p
      WHERE p.person_id = of_person AND p.password_hash = checked_hash AND p.disabled_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- Those past their longest life, with their tokens. Served by login_sessions_person.
    DELETE FROM login_sessions AS s WHERE s.person_id = of_person AND s.started_at < now() - longest;
    INSERT INTO login_sessions (person_id) VALUES (of_person) RETURNING session_id INTO opened;
    INSERT INTO session_tokens (token_sha256, session_id, person_id, kind, expires_at)
    VALUES (new_access, opened, of_person, 'access', now() + access_life),
           (new_refresh, opened, of_person, 'refresh', now() + refresh_life);
    RETURN opened;
END
$$;

-- The log-in of a refresh token, in whatever state both are.
CREATE FUNCTION session_of_refresh_token(candidate bytea) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT t.session_id FROM session_tokens AS t WHERE t.token_sha256 = candidate AND t.kind = 'refresh'
$$;

-- Replace the tokens of a log-in: no row where the refresh token is good for nothing; `reused` where it came a second time,
-- which has ended the log-in.
CREATE FUNCTION refresh_session(candidate bytea, longest interval, new_access bytea, access_life interval,
                                new_refresh bytea, refresh_life interval)
    RETURNS TABLE (person_id uuid, email text, session_id uuid, reused boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    fresh boolean;
BEGIN
    SELECT p.person_id, p.email, t.session_id INTO person_id, email, session_id
      FROM session_tokens AS t JOIN people AS p ON p.person_id = t.person_id AND p.disabled_at IS NULL
     WHERE t.token_sha256 = candidate AND t.kind = 'refresh';
    -- The lock lets two who refresh at once come one after the other: the second has a used token.
    PERFORM 1 FROM login_sessions AS s
      WHERE s.session_id = refresh_session.session_id AND s.ended_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT t.used_at IS NOT NULL, t.expires_at > now() AND s.started_at > now() - longest INTO reused, fresh
      FROM session_tokens AS t JOIN login_sessions AS s ON s.session_id = t.session_id
     WHERE t.token_sha256 = candidate;
    IF NOT FOUND THEN
        RETURN;
    ELSIF reused THEN
        UPDATE login_sessions AS s SET ended_at = now(), ending = 'reuse' WHERE s.session_id = refresh_session.session_id;
        RETURN NEXT;
    ELSIF fresh THEN
        -- It is kept to be recognised when it comes again; a day after its end it is refused as an unknown one.
        UPDATE session_tokens AS t SET used_at = now() WHERE t.token_sha256 = candidate;
        DELETE FROM session_tokens AS t
         WHERE t.session_id = refresh_session.session_id AND t.expires_at < now() - interval '1 day';
        INSERT INTO session_tokens (token_sha256, session_id, person_id, kind, expires_at)
        VALUES (new_access, session_id, person_id, 'access', now() + access_life),
               (new_refresh, session_id, person_id, 'refresh', now() + refresh_life);
        RETURN NEXT;
    END IF;
END
$$;

-- Whose token for setting a password it is; `password_hash` is NULL where the token alone sets it, `customer_id` is that
-- of an invitation.
CREATE FUNCTION find_password_token(candidate bytea)
    RETURNS TABLE (person_id uuid, email text, password_hash text, customer_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT p.person_id, p.email, NULL, NULL::bigint FROM people AS p
     WHERE p.reset_sha256 = candidate AND p.reset_expires_at > now() AND p.disabled_at IS NULL
    UNION ALL
    SELECT p.person_id, p.email, p.password_hash, m.customer_id
      FROM members AS m JOIN people AS p ON p.person_id = m.person_id AND p.disabled_at IS NULL
      JOIN customers AS c ON c.customer_id = m.customer_id AND c.status = 'active'
     WHERE m.invitation_sha256 = candidate AND m.invitation_expires_at > now()
$$;

-- Set a person's password: a new one by a reset token, the first one by an invitation too.
CREATE FUNCTION set_password(of_person uuid, candidate bytea, new_hash text) RETURNS TABLE (person_id uuid)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    UPDATE people AS p
       SET password_hash = new_hash, password_set_at = now(), reset_sha256 = NULL, reset_expires_at = NULL
     WHERE p.person_id = of_person AND p.disabled_at IS NULL
       AND ((p.reset_sha256 = candidate AND p.reset_expires_at > now())
            OR (p.password_hash IS NULL
                AND EXISTS (SELECT FROM members AS m
                             WHERE m.person_id = p.person_id AND m.invitation_sha256 = candidate
                               AND m.invitation_expires_at > now())))
    RETURNING p.person_id
$$;

-- Take up an invitation; it is used up. No row where the person's password is no longer the one that was checked.
CREATE FUNCTION take_up_invitation(candidate bytea, checked_hash text)
    RETURNS TABLE (customer_id bigint, person_id uuid, role text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM 1 FROM people AS p
      WHERE p.person_id = (SELECT m.person_id FROM members AS m WHERE m.invitation_sha256 = candidate)
        AND p.password_hash = checked_hash AND p.disabled_at IS NULL FOR NO KEY UPDATE;
    IF FOUND THEN
        RETURN QUERY
        UPDATE members AS m
           SET joined_at = now(), invitation_sha256 = NULL, invitation_expires_at = NULL
         WHERE m.invitation_sha256 = candidate AND m.invitation_expires_at > now()
        RETURNING m.customer_id, m.person_id, m.role;
    END IF;
END
$$;

-- Count a wrong password against its invitation; the fifth ends it.
CREATE FUNCTION count_wrong_password(candidate bytea) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    UPDATE members AS m
       SET invitation_failures = m.invitation_failures + 1,
           invitation_expires_at = CASE WHEN m.invitation_failures < 4 THEN m.invitation_expires_at
                                        ELSE least(m.invitation_expires_at, now()) END
     WHERE m.invitation_sha256 = candidate
$$;

-- The person of an e-mail, made where there is none. An API that knows one customer cannot see whether there is.
-- The row is held against removal (of people whom no customer has, by the nightly cleanup) and against nothing else: who joins
-- holds it and waits for the membership, who invites does both the other way round.
CREATE FUNCTION person_of_email(candidate text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    theirs uuid;
BEGIN
    LOOP
        SELECT p.person_id INTO theirs FROM people AS p WHERE lower(p.email) = lower(candidate) FOR KEY SHARE;
        EXIT WHEN FOUND;
        INSERT INTO people (email) VALUES (candidate) ON CONFLICT (lower(email)) DO NOTHING
        RETURNING person_id INTO theirs;
        EXIT WHEN FOUND;
    END LOOP;
    RETURN theirs;
END
$$;

GRANT CREATE ON SCHEMA public TO upstream_pipeline;  -- an owner-to-be needs it; taken back below
DO $$
DECLARE
    made text;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'find_login(text)', 'authenticate_person(bytea, text)', 'find_password_token(bytea)',
        'open_session(uuid, text, interval, bytea, interval, bytea, interval)', 'session_of_refresh_token(bytea)',
        'refresh_session(bytea, interval, bytea, interval, bytea, interval)',
        'count_wrong_password(bytea)', 'set_password(uuid, bytea, text)', 'take_up_invitation(bytea, text)',
        'person_of_email(text)'
    ] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO upstream_api, upstream_pipeline', made);
        EXECUTE format('ALTER FUNCTION %s OWNER TO upstream_pipeline', made);
    END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA public FROM upstream_pipeline;
