"""Characters of equations that LaTeX has a command for, or that need an escape there."""

# ruff: noqa: RUF001
from __future__ import annotations

_LETTERS = (
    "α alpha β beta γ gamma δ delta ε varepsilon ϵ epsilon ζ zeta η eta θ theta ϑ vartheta ι iota κ kappa λ lambda "
    "μ mu µ mu ν nu ξ xi π pi ϖ varpi ρ rho ϱ varrho σ sigma ς varsigma τ tau υ upsilon φ varphi ϕ phi χ chi ψ psi "
    "ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega ∆ Delta Ω Omega"
)
_SIGNS = (
    "∑ sum ∏ prod ∐ coprod ∫ int ∬ iint ∭ iiint ∮ oint ⋃ bigcup ⋂ bigcap ⋁ bigvee ⋀ bigwedge ∞ infty ∂ partial ∇ "
    "nabla ± pm ∓ mp × times ÷ div ⋅ cdot · cdot ∘ circ ∗ ast ≤ leq ≥ geq ≪ ll ≫ gg ≠ neq ≈ approx ≅ cong ≡ equiv ∼ "
    "sim ∝ propto → rightarrow ← leftarrow ↔ leftrightarrow ⇒ Rightarrow ⇐ Leftarrow ⇔ Leftrightarrow ↦ mapsto ∈ in "
    "∉ notin ∋ ni ⊂ subset ⊆ subseteq ⊃ supset ⊇ supseteq ∪ cup ∩ cap ∖ setminus ∅ emptyset ∀ forall ∃ exists ¬ neg "
    "∧ wedge ∨ vee ⊥ perp ∥ parallel ∠ angle ⊕ oplus ⊗ otimes … ldots ⋯ cdots ⋮ vdots ⋱ ddots ′ prime ℏ hbar ℓ ell "
    "⟨ langle ⟩ rangle 〈 langle 〉 rangle ⌈ lceil ⌉ rceil ⌊ lfloor ⌋ rfloor ‖ Vert | vert √ surd ∣ mid \\ backslash"
)
_words = f"{_LETTERS} {_SIGNS}".split()
# Of what a person has typed in a line, ``l^2`` and ``s_1`` mean in LaTeX what they mean there.
LATEX_CHARACTERS = (
    {sign: f"\\{command} " for sign, command in zip(_words[::2], _words[1::2], strict=True)}
    | {sign: f"\\{sign}" for sign in "#$%&{}"}
    | {"ℝ": r"\mathbb{R}", "ℕ": r"\mathbb{N}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"}
    | {
        "\u2212": "-",
        "\u210e": "h",
        "~": r"\sim ",
        "\u2061": "",
        "\u2062": "",
        "\u2063": ",",
        "\xa0": " ",
    }
)
