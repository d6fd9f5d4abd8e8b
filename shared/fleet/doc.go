// Package fleet is what all environments of one deployment know in common, in one
// DynamoDB table: the tokens, who is fetching one, which credential was refused,
// and how often each authorization server was called.
//
// Everything rests on rows with leases. A row is free, or leased by an
// environment that does the work for all, or at rest until a time that the work
// had as its result (a token has to be refreshed, a server may be tried again).
// One conditional write tells the three apart and takes the lease of a free row.
//
// Whoever can read the table learns nothing and whoever can write it can only
// take things away: names of rows are keyed hashes, and what they say is sealed
// with AES-256-GCM under the row's name. The key is one per epoch, a day, and lies
// in the table encrypted by KMS. It costs an environment one KMS call per epoch.
//
// Nothing here is needed for a token: a table that is slow, down, or holds
// rubbish costs little time, and then the environment is on its own.
package fleet
