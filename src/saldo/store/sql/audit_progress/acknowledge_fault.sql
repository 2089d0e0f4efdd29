UPDATE saldo.audit_faults SET acknowledged_at = clock_timestamp(), acknowledged_why = $2 WHERE id = $1 RETURNING id
