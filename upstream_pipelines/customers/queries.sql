-- Statements over customers and their tokens. Small tables: their primary and unique keys serve all of them.

-- name: insert_customer
-- Sign up a customer; no row where the slug is taken.
INSERT INTO customers (slug, name, configuration) VALUES (%(slug)s, %(name)s, '{}') ON CONFLICT (slug) DO NOTHING
RETURNING customer_id, slug, name, status, configuration, created_at, names_wanted;

-- name: sign_up_customer
-- The same by the operator over HTTP, with the row of its trail. A function: no policy shows the API's role a customer that is not
-- there yet.
SELECT customer_id, slug, name, status, configuration, created_at, names_wanted
  FROM sign_up_customer(%(slug)s, %(name)s, %(request_id)s);

-- name: select_customer
-- One customer by slug (unique key).
SELECT customer_id, slug, name, status, configuration, created_at, names_wanted FROM customers WHERE slug = %(slug)s;

-- name: lock_customer
-- One change of a configuration at a time (unique key). Rows that refer to the customer may be written meanwhile.
SELECT 1 FROM customers WHERE slug = %(slug)s FOR NO KEY UPDATE;

-- name: select_customers
-- All customers, for listing and for the sweep.
SELECT customer_id, slug, name, status, configuration, created_at, names_wanted FROM customers ORDER BY slug;

-- name: select_active
-- Active customers without their configuration: one that cannot be read must not stop the others.
SELECT customer_id, slug FROM customers WHERE status = 'active' ORDER BY slug;

-- name: set_status
-- Disable or enable; a disabled customer's tokens stop working at once (see authenticate_ingestion_token).
UPDATE customers
   SET status = %(status)s, disabled_at = CASE WHEN %(status)s = 'disabled' THEN now() END
 WHERE slug = %(slug)s
RETURNING customer_id, slug, name, status, configuration, created_at, names_wanted;

-- name: set_configuration
-- Replace a customer's configuration; changed aliases or groups are noted by the trigger names_changed.
UPDATE customers SET configuration = %(configuration)s WHERE customer_id = %(customer_id)s;

-- name: issue_token
-- A new ingestion token; only its digest. Served by the key of ingestion_tokens.
INSERT INTO ingestion_tokens (customer_id, token_sha256, prefix, label, expires_at)
VALUES (%(customer_id)s, %(token_sha256)s, %(prefix)s, %(label)s, %(expires_at)s)
RETURNING token_id, prefix, label, created_at, expires_at, revoked_at, last_used_at;

-- name: revoke_token
-- Keeps the first time of revoking. Served by the primary key of ingestion_tokens.
UPDATE ingestion_tokens
   SET revoked_at = coalesce(revoked_at, now())
 WHERE customer_id = %(customer_id)s AND token_id = %(token_id)s
RETURNING token_id;

-- name: list_tokens
-- What may be shown of a customer's tokens. Served by the primary key of ingestion_tokens.
SELECT token_id, prefix, label, created_at, expires_at, revoked_at, last_used_at
  FROM ingestion_tokens
 WHERE customer_id = %(customer_id)s
 ORDER BY created_at DESC, token_id;

-- name: authenticate_token
-- The only look-up before a customer is known. Served by the unique index on token_sha256.
SELECT customer_id, token_id, slug FROM authenticate_ingestion_token(%(token_sha256)s);

-- name: count_active
-- Active customers, to size the daily sweep.
SELECT count(*) FROM customers WHERE status = 'active';

-- name: select_bucket
-- The active customers of one bucket of a sweep, without their configuration (as above).
SELECT customer_id, slug FROM customers
 WHERE status = 'active' AND mod(hashtextextended(slug, 0) & 9223372036854775807, %(buckets)s) = %(bucket)s
 ORDER BY customer_id;

-- name: act_for
-- Whom the API's transaction is for: a person or a customer, '' for neither.
SELECT set_config('app.person_id', %(person_id)s, true), set_config('app.customer_id', %(customer_id)s, true);

-- name: select_person
-- One person by e-mail, in whichever case. Served by the unique index on lower(email).
SELECT person_id, email, password_set_at, disabled_at, created_at
  FROM people WHERE lower(email) = lower(%(email)s);

-- name: store_reset_token
-- A token that sets a new password; it takes the place of an earlier one.
UPDATE people SET reset_sha256 = %(token_sha256)s, reset_expires_at = now() + %(life)s WHERE person_id = %(person_id)s;

-- name: set_person_disabled
-- Keeps the first time of disabling.
UPDATE people SET disabled_at = CASE WHEN %(disabled)s THEN coalesce(disabled_at, now()) END
 WHERE person_id = %(person_id)s;

-- name: find_login
-- Who may log in under an e-mail, and the hash of the password.
SELECT person_id, email, password_hash FROM find_login(%(email)s);

-- name: find_password_token
-- Whose token for setting a password or joining a customer it is.
SELECT person_id, email, password_hash, customer_id FROM find_password_token(%(token_sha256)s);

-- name: set_password
-- The first password of a person, or a new one by a reset token.
SELECT person_id FROM set_password(%(person_id)s, %(token_sha256)s, %(password_hash)s);

-- name: change_password
-- The password of the person of the transaction; false where the checked one is theirs no longer.
SELECT change_password(%(checked_hash)s, %(new_hash)s);

-- name: end_other_sessions
-- All log-ins of a person that still run, but one. Served by login_sessions_person.
UPDATE login_sessions SET ended_at = now(), ending = 'password'
 WHERE person_id = %(person_id)s AND session_id <> %(session_id)s AND ended_at IS NULL;

-- name: take_up_invitation
-- A membership that holds from now on; no row where the token was used or the password changed meanwhile.
SELECT customer_id, person_id, role FROM take_up_invitation(%(token_sha256)s, %(checked_hash)s);

-- name: count_wrong_password
-- Against the invitation that it came with.
SELECT count_wrong_password(%(token_sha256)s);

-- name: end_sessions_of_person
-- All log-ins that still run. Served by login_sessions_person.
UPDATE login_sessions SET ended_at = now(), ending = %(ending)s
 WHERE person_id = %(person_id)s AND ended_at IS NULL;

-- name: open_session
-- A new log-in with its tokens, of which only digests; NULL where the checked password is the person's no longer.
SELECT open_session(%(person_id)s, %(checked_hash)s, %(life)s, %(access_sha256)s, %(access_life)s, %(refresh_sha256)s,
                    %(refresh_life)s);

-- name: session_of_refresh_token
-- Which log-in it is of, in whatever state.
SELECT session_of_refresh_token(%(token_sha256)s);

-- name: refresh_session
-- A new pair of a log-in, or its end where the token was used before.
SELECT person_id, email, session_id, reused
  FROM refresh_session(%(token_sha256)s, %(life)s, %(access_sha256)s, %(access_life)s, %(refresh_sha256)s, %(refresh_life)s);

-- name: end_session
-- One log-in with all its tokens.
UPDATE login_sessions SET ended_at = now(), ending = %(ending)s
 WHERE session_id = %(session_id)s AND ended_at IS NULL;

-- name: running_session
-- A log-in of the person of the transaction that has not ended (primary keys).
SELECT 1 FROM login_sessions AS s JOIN people AS p USING (person_id)
 WHERE s.session_id = %(session_id)s AND s.ended_at IS NULL AND p.disabled_at IS NULL;

-- name: authenticate_person
-- Whose access token it is, and the role in the customer of that slug.
SELECT person_id, email, session_id, customer_id, role FROM authenticate_person(%(token_sha256)s, %(slug)s);

-- name: person_of_email
-- The person of an e-mail, made where there is none.
SELECT person_of_email(%(email)s);

-- name: select_members
-- Members and invitations of a customer, or one of them. Of who has not joined nothing is told that the invitation did not
-- say: it may be known from another customer. Served by the primary key of members.
SELECT m.person_id, p.email, m.display_name, m.role,
       m.joined_at IS NOT NULL AND p.disabled_at IS NOT NULL AS disabled, m.invited_at, m.joined_at
  FROM members AS m JOIN people AS p USING (person_id)
 WHERE m.customer_id = %(customer_id)s AND (%(person_id)s::uuid IS NULL OR m.person_id = %(person_id)s)
 ORDER BY lower(p.email);

-- name: select_memberships
-- Active customers of the person whom the transaction is for.
SELECT c.slug, c.name, m.role, m.display_name
  FROM members AS m JOIN customers AS c USING (customer_id)
 WHERE m.joined_at IS NOT NULL AND c.status = 'active'
 ORDER BY c.slug;

-- name: lock_members
-- All members of a customer, in one order, so that two changes of them come one after the other.
SELECT person_id, role, joined_at IS NOT NULL FROM members
 WHERE customer_id = %(customer_id)s ORDER BY person_id FOR UPDATE;

-- name: other_owners
-- Owners beside one member who can act: they joined and are not disabled.
SELECT count(*) FROM members AS m JOIN people AS p USING (person_id)
 WHERE m.customer_id = %(customer_id)s AND m.person_id <> %(person_id)s
   AND m.role = 'owner' AND m.joined_at IS NOT NULL AND p.disabled_at IS NULL;

-- name: invite_member
-- An invitation, or the same one anew under another token.
INSERT INTO members (customer_id, person_id, role, display_name, invited_by, invitation_sha256, invitation_expires_at)
VALUES (%(customer_id)s, %(person_id)s, %(role)s, %(display_name)s, %(invited_by)s, %(token_sha256)s, now() + %(life)s)
ON CONFLICT (customer_id, person_id) DO UPDATE
   SET role = %(role)s, display_name = %(display_name)s, invited_by = %(invited_by)s,
       invitation_sha256 = %(token_sha256)s, invited_at = now(),
       invitation_expires_at = now() + %(life)s, invitation_failures = 0
 WHERE members.joined_at IS NULL;

-- name: end_invitations_by
-- Invitations that somebody made and that nobody took up, of those roles, in one customer or in all. Few a customer; the
-- primary key of members.
DELETE FROM members
 WHERE invited_by = %(person_id)s AND joined_at IS NULL AND role = ANY(%(roles)s)
   AND (customer_id = %(customer_id)s OR %(customer_id)s::bigint IS NULL)
RETURNING customer_id, person_id, role;

-- name: set_role
-- Another role of a member.
UPDATE members SET role = %(role)s WHERE customer_id = %(customer_id)s AND person_id = %(person_id)s;

-- name: remove_member
-- The end of a membership; the trail keeps that there was one.
DELETE FROM members WHERE customer_id = %(customer_id)s AND person_id = %(person_id)s;

-- name: add_act
-- A row of the audit trail.
INSERT INTO audit_log (customer_id, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id, details)
VALUES (%(customer_id)s, %(actor_kind)s, %(actor_id)s, %(actor_name)s, %(action)s, %(entity_kind)s, %(entity_id)s,
        %(request_id)s, %(details)s);

-- name: select_acts
-- Acts on a customer, or on none, the newest first, from after a mark on. Served by the unique key of audit_log.
SELECT audit_id, at, actor_kind, actor_id, actor_name, action, entity_kind, entity_id, request_id, details
  FROM audit_log
 WHERE (customer_id = %(customer_id)s OR (%(customer_id)s::bigint IS NULL AND customer_id IS NULL))
   AND (%(after_at)s::timestamptz IS NULL OR (at, audit_id) < (%(after_at)s, %(after_id)s::uuid))
   AND (%(action)s::text IS NULL OR action = %(action)s)
   AND (%(actor)s::text IS NULL OR actor_id = %(actor)s OR lower(actor_name) = lower(%(actor)s))
   AND (%(entity_kind)s::text IS NULL OR entity_kind = %(entity_kind)s)
   AND (%(entity_id)s::text IS NULL OR entity_id = %(entity_id)s)
   AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
 ORDER BY at DESC, audit_id DESC
 LIMIT %(limit)s;

-- name: find_deletion
-- Which customer of a slug was deleted last. Served by audit_log_deletions.
SELECT customer_id FROM audit_log
 WHERE action IN ('customer.deletion_begun', 'customer.deleted') AND entity_kind = 'customer' AND entity_id = %(slug)s
   AND customer_id IS NOT NULL
 ORDER BY at DESC LIMIT 1;

-- name: rename_customer
-- The organisation's name.
UPDATE customers SET name = %(name)s WHERE customer_id = %(customer_id)s
RETURNING customer_id;

-- name: customers_of_person
-- The customers a person is a member of or invited to. Served by members_person.
SELECT customer_id FROM members WHERE person_id = %(person_id)s ORDER BY customer_id;


-- name: hold_key
-- One request a key at a time, until its transaction ends. No index: a lock in memory.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(key)s, %(customer_id)s));

-- name: kept_answer
-- What a request of that key was answered, unless that is so long ago that the key may be used again. Served by the unique key.
SELECT request_sha256, status, answer, location FROM kept_answers
 WHERE key_sha256 = %(key_sha256)s AND principal = %(principal)s
   AND (customer_id = %(customer_id)s OR (%(customer_id)s::bigint IS NULL AND customer_id IS NULL))
   AND kept_at >= now() - %(days)s * interval '1 day';

-- name: count_kept
-- How many answers to a person's or operators' requests are kept, as far as that matters (kept_answers_customer).
SELECT count(*) FROM (
    SELECT 1 FROM kept_answers
     WHERE customer_id IS NOT DISTINCT FROM %(customer_id)s AND principal = %(principal)s
       AND kept_at >= now() - %(days)s * interval '1 day'
     LIMIT %(most)s) AS kept;

-- name: keep_answer
-- The first answer, in the place of one that is too old to be given again. By the unique key.
INSERT INTO kept_answers (customer_id, principal, key_sha256, request_sha256, status, answer, location)
VALUES (%(customer_id)s, %(principal)s, %(key_sha256)s, %(request_sha256)s, %(status)s, %(answer)s, %(location)s)
    ON CONFLICT (key_sha256, principal, customer_id) DO UPDATE
   SET request_sha256 = excluded.request_sha256, status = excluded.status, answer = excluded.answer,
       location = excluded.location, kept_at = now();

-- name: products_off
-- Parts of the product that are off for a customer (primary key).
SELECT products_off FROM customers WHERE customer_id = %(customer_id)s;

-- name: customers_without
-- Active customers for which a part is off.
SELECT customer_id FROM customers WHERE status = 'active' AND %(flag)s = ANY (products_off);

-- name: set_product_flags
-- Those of the customer of the transaction, by an operator, with a row of the trail.
SELECT set_product_flags(%(off)s, %(actor_id)s, %(actor_name)s, %(request_id)s, %(details)s);

-- name: set_product_flags_over_api
-- The same by the operator over HTTP: who it was and what changed the database writes itself.
SELECT set_product_flags_over_api(%(off)s, %(request_id)s);

-- name: customer_of_slug
-- The active customer of a slug, for an operator over HTTP, who is a member of none.
SELECT customer_of_slug(%(slug)s);
