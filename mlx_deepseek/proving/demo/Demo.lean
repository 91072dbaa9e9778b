/-! One theorem by induction, four that tactics prove, one that nobody can. -/

def loop : Nat → Nat → Nat
  | 0, acc => acc
  | n + 1, acc => loop n (acc + 4)

theorem loops (n acc : Nat) : loop n acc = 4 * n + acc := by
  sorry

def twice (n : Nat) : Nat := n + n

theorem twice_two : twice 2 = 4 := by
  sorry

theorem swap (p q : Prop) (h : p ∧ q) : q ∧ p := by
  sorry

theorem even_sum (a b : Nat) (h : a % 2 = 0) (k : b % 2 = 0) : (a + b) % 2 = 0 := by
  sorry

theorem small (n : Nat) (h : n < 3) : n = 0 ∨ n = 1 ∨ n = 2 := by
  sorry

theorem too_good (n : Nat) : n < n := by
  sorry
