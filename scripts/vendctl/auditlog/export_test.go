package auditlog

// SetMaxRows lets a query return fewer lines.
func SetMaxRows(c *CloudWatch, n int) { c.maxRows = n }
