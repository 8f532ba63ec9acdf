-- Each event as it stood before the look that last updated it; NULL for one which that look opened. A look made again
-- on its day starts from here: the results of earlier days may be replaced by a look back, which must not change what
-- the present events were at.
ALTER TABLE drift_events ADD COLUMN before_last_look jsonb;

-- As the newest earlier result has it; without one as it stands. As upstream_pipeline: no policy shows the owner an
-- event.
SET LOCAL ROLE upstream_pipeline;
UPDATE drift_events AS e
   SET before_last_look = coalesce(
           (SELECT r.event FROM drift_results AS r
             WHERE r.customer_id = e.customer_id AND r.event_id = e.event_id AND r.as_of < e.last_look
               AND r.event IS NOT NULL
             ORDER BY r.as_of DESC LIMIT 1),
           jsonb_build_object('event_id', e.event_id, 'payer', e.payer, 'cpt_group', e.cpt_group,
               'signal', e.signal, 'direction', e.direction, 'state', e.state, 'cause', e.cause,
               'started_on', e.started_on, 'opened_on', e.opened_on, 'last_look', e.last_look,
               'resolved_on', e.resolved_on, 'memory', e.memory))
 WHERE e.opened_on < e.last_look;
SET LOCAL ROLE upstream_owner;
