// What an operator asks of the store while it runs. The control socket calls it; a back end provides it.
import { token } from '../token.ts'

export interface BackupProgress {
  readonly phase: 'records' | 'blobs' | 'sync'
  /** Records or files copied so far. */
  readonly done: number
  /** How many there are, where that is known. */
  readonly of?: number
}

export interface BackupResult {
  readonly records: number
  readonly blobs: number
  readonly octets: number
  /** Files that records name and that are not there. A backup of a damaged store is still worth having. */
  readonly missing: readonly string[]
}

export interface Maintenance {
  /** A consistent copy while running, into an empty or absent folder; complete when it resolves. Point `data` at it to restore. */
  backup(target: string, progress?: (at: BackupProgress) => void): Promise<BackupResult>
  /** Gives the room of removed records and blobs back now, rather than in a quiet minute. */
  compact(): Promise<void>
  /** Counters for `status` and metrics: numbers by name. */
  stats(): Readonly<Record<string, number>>
}

export const Maintenance = token<Maintenance>('core/maintenance', ['compact'])
