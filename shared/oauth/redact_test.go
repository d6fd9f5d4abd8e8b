package oauth

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestSharePieceFindsEveryPiece: any eight successive bytes of a credential are found wherever they
// are in a text, and seven are not.
func TestSharePieceFindsEveryPiece(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := func(alphabet string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 2000 {
		// Two letters make many pairs equal that are no piece.
		credential := letters("ab\xff", 9+random.IntN(30))
		text := letters("ab\xff", random.IntN(60))
		want := false
		for i := 0; i+8 <= len(credential); i++ {
			want = want || strings.Contains(text, credential[i:i+8])
		}
		if got := sharePiece(text, credential); got != want {
			t.Fatalf("sharePiece(%q, %q) = %v, want %v", text, credential, got, want)
		}
		at := random.IntN(len(credential) - 7)
		if !sharePiece(letters("xyz", random.IntN(9))+credential[at:at+8]+letters("xyz", random.IntN(9)), credential) {
			t.Fatalf("the bytes from %d of %q were not found", at, credential)
		}
		if sharePiece(letters("xyz", 9)+credential[at:at+7]+letters("xyz", 9), credential) {
			t.Fatalf("seven bytes from %d of %q were taken for a piece", at, credential)
		}
	}
	for _, text := range []string{"", "a", "abcdefg", "abcdefghi"} {
		if got, want := sharePiece("x"+text, text), text != ""; got != want {
			t.Errorf("sharePiece(x%s, %s) = %v, want %v", text, text, got, want)
		}
	}
}
