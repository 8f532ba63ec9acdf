-- The version of the method and the settings of the look that opened an event. method_version and settings beside them are
-- of its last look: an event found with version 2 would say 3 a day after the upgrade.
ALTER TABLE drift_events ADD COLUMN opened_method_version text, ADD COLUMN opened_settings jsonb;

-- As the look of the day has it; where none is kept, as the last look of the event does. As upstream_pipeline: no policy
-- shows the owner an event.
SET LOCAL ROLE upstream_pipeline;
UPDATE drift_events AS e
   SET opened_method_version = coalesce(l.method_version, e.method_version),
       opened_settings = coalesce(l.settings, e.settings)
  FROM drift_events AS o
  LEFT JOIN drift_looks AS l ON l.customer_id = o.customer_id AND l.as_of = o.opened_on
 WHERE o.customer_id = e.customer_id AND o.event_id = e.event_id;
SET LOCAL ROLE upstream_owner;
ALTER TABLE drift_events ALTER COLUMN opened_method_version SET NOT NULL, ALTER COLUMN opened_settings SET NOT NULL;
