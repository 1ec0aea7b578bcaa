"""What people do about doubtful records: the queue, leases, decisions.

```
            open ──decide──▶ closed                  accept, correct, uncountable, not_this_bin
             │  ▲ ▲            │
             │  │ └───undo─────┤
             │  └───undo────┐  └──▶ a new one, blind  recount; a blind count that nothing confirms
             │            waiting ──approve──▶ closed
             │              ▲  └─────reject──▶ closed, and a new one, blind
             ├──a correction┘ of so much value that it needs two people
             ▼
         withdrawn        a newer verdict took its place, or needs nobody
```

A blind review does not show the record. Its count settles the matter where it agrees with the record or with another
blind count; two that disagree are for an approver. Reviews of one verdict are its rounds.
"""
