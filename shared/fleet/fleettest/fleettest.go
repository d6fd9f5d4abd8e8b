// Package fleettest is a table and a key in memory, for tests of those who share:
// with the semantics of DynamoDB and KMS as far as [fleet.Table] and [fleet.Keys]
// need them, counts, and faults.
package fleettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"

	"tokenvendor/shared/fleet"
)

// A Fault stands between a caller and an answer: it may wait, or return an error.
type Fault func(ctx context.Context) error

// Hang waits until the caller gives up.
func Hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Down answers nothing.
func Down(context.Context) error { return errors.New("down") }

// Table is a [fleet.Table]. It is safe for concurrent use; the zero value is an
// empty table.
type Table struct {
	mu      sync.Mutex
	items   map[string]fleet.Item // guarded by mu
	calls   int                   // guarded by mu
	updates int                   // guarded by mu
	fault   Fault                 // before a call; guarded by mu
	late    Fault                 // after it took effect; guarded by mu

	capacity capacity
}

// Misbehave puts a fault before every call; nil: none.
func (t *Table) Misbehave(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = f
}

// MisbehaveAfter puts a fault between the effect of every update and its answer;
// nil: none.
func (t *Table) MisbehaveAfter(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = f
}

// Calls returns how often the table was called.
func (t *Table) Calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls
}

// Updates returns how often a row was written, or not because of its condition.
func (t *Table) Updates() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.updates
}

func (t *Table) meet(ctx context.Context) error {
	t.mu.Lock()
	t.calls++
	fault := t.fault
	t.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx)
}

// Get implements [fleet.Table].
func (t *Table) Get(ctx context.Context, name string) (*fleet.Item, error) {
	if err := t.meet(ctx); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	item, ok := t.items[name]
	if err := t.capacity.read(fleet.Item{Name: name, Owner: item.Owner, State: item.State, Value: item.Value}); err != nil || !ok {
		return nil, err
	}
	return &item, nil
}

// Update implements [fleet.Table].
func (t *Table) Update(ctx context.Context, item fleet.Item, condition fleet.Condition) (*fleet.Item, bool, error) {
	if err := t.meet(ctx); err != nil {
		return nil, false, err
	}
	old, ok, err := t.update(item, condition)
	if err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	late := t.late
	t.mu.Unlock()
	if late != nil {
		if err := late(ctx); err != nil {
			return nil, false, err
		}
	}
	return old, ok, nil
}

func (t *Table) update(item fleet.Item, condition fleet.Condition) (*fleet.Item, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.updates++
	there, exists := t.items[item.Name]
	var old *fleet.Item
	if exists {
		copied := there
		old = &copied
	}
	after := item
	if after.Value == nil {
		after.Value = there.Value
	}
	if !holds(condition, there, exists) {
		return old, false, t.capacity.write(there, fleet.Item{Name: item.Name})
	}
	if err := t.capacity.write(there, after); err != nil {
		return nil, false, err
	}
	if t.items == nil {
		t.items = make(map[string]fleet.Item)
	}
	t.items[item.Name] = after
	return old, true, nil
}

func holds(c fleet.Condition, there fleet.Item, exists bool) bool {
	switch {
	case c.Any:
		return true
	case c.Like != nil && c.Like.Name == "":
		return !exists
	case c.Like != nil:
		return exists && there.Until == c.Like.Until && bytes.Equal(there.State, c.Like.State)
	case c.OwnedBy != "":
		return there.Owner == c.OwnedBy && there.Until >= c.OwnedAt
	}
	return !exists || there.Until <= c.FreeAt
}

// Items returns all rows, in no order.
func (t *Table) Items() []fleet.Item {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.items))
}

// Put puts a row, as an attacker that can write the table does.
func (t *Table) Put(item fleet.Item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items[item.Name] = item
}

// Delete deletes a row.
func (t *Table) Delete(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.items, name)
}

// Keys is a [fleet.Keys]. It is safe for concurrent use; the zero value is ready.
type Keys struct {
	mu    sync.Mutex
	keys  map[string][]byte // by epoch and encrypted key; guarded by mu
	calls int               // guarded by mu
	fault Fault             // guarded by mu
}

// Misbehave puts a fault before every call; nil: none.
func (k *Keys) Misbehave(f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = f
}

// Calls returns how often the key was used.
func (k *Keys) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

func (k *Keys) meet(ctx context.Context) error {
	k.mu.Lock()
	k.calls++
	fault := k.fault
	k.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx)
}

// Generate implements [fleet.Keys].
func (k *Keys) Generate(ctx context.Context, epoch string) (plain, encrypted []byte, err error) {
	if err := k.meet(ctx); err != nil {
		return nil, nil, err
	}
	plain, encrypted = make([]byte, 32), make([]byte, 64)
	_, _ = rand.Read(plain)
	_, _ = rand.Read(encrypted)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = make(map[string][]byte)
	}
	k.keys[epoch+string(encrypted)] = plain
	return plain, encrypted, nil
}

// Decrypt implements [fleet.Keys].
func (k *Keys) Decrypt(ctx context.Context, epoch string, encrypted []byte) ([]byte, error) {
	if err := k.meet(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if plain, ok := k.keys[epoch+string(encrypted)]; ok {
		return plain, nil
	}
	return nil, fleet.ErrNoKey
}
