"""Old versions: which of them stay, and why; and what is removed with the others.

```
settings     what registry.toml may say
needed       what must stay, whatever a setting says
verdicts     each version's word: it stays, or it goes
beside       predictions, pairs of shadows, and what kills left
collect      the `gc` verb
```
"""
