// What `posthorn fsck` asks of those who own records: whether theirs are consistent with each other.
import type { Op, Storage } from './contract.ts'

/** One thing that is wrong with the store, told so that a person can act on it. */
export interface Finding {
  /** `lost`: mail or state is gone or unreadable. `damaged`: repairable without loss. `waste`: only takes up room. */
  readonly severity: 'lost' | 'damaged' | 'waste'
  /** The key or file it is about. */
  readonly at: string
  readonly what: string
  /** The next thing to do, as one sentence; or what `--repair` does. */
  readonly fix: string
  /** What `--repair` writes. Absent: only a person can tell. */
  readonly repair?: readonly Op[]
}

/** Checks the records of one owner. `name` is what the report calls it: `queue`. */
export interface RecordCheck {
  readonly name: string
  /** Reads by ranges, holds little in memory; never writes. */
  check(storage: Pick<Storage, 'get' | 'getMany' | 'range'>): AsyncIterable<Finding>
}
