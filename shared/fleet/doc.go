// Package fleet keeps what all environments of one deployment know in common, in one
// DynamoDB table: the tokens, which environment fetches one, which credential was refused,
// and how often each authorization server was called.
//
// A row is free, or leased by the environment that does the work for all, or done until a
// time that the work had as its result (a token has to be refreshed, a server may be tried
// again). [Session.Acquire] is the whole lease protocol. One conditional write tells the
// three states apart and takes the lease of a free row. An environment that waits for
// another one reads the row, with jittered backoff, and does not write it. Rows are small;
// a value, such as a token, lies in a row of its own.
//
// An attacker who can read the table learns nothing, and one who can write it can only
// take things away: names of rows are keyed hashes, and their contents are sealed with
// AES-256-GCM under the row's name. There is one key per epoch, a day. It lies in the table,
// encrypted by KMS, and costs an environment one KMS call per epoch.
//
// No token depends on this package. If the table is slow, down or damaged, that costs
// little time, and the environment works alone.
package fleet
