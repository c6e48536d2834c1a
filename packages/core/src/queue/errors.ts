// What can be wrong with the queue's records and requests, each with the next thing to do.
import { PosthornError } from '../errors.ts'

export const badRecord = (key: string, cause: unknown) =>
  new PosthornError('POSTHORN_QUEUE_RECORD', `the record ${key} cannot be read: ${reasonOf(cause)}`, {
    fix: 'Run `posthorn fsck`: it says what is damaged, and sets it aside with --repair.',
    cause,
  })

export const newerRecord = (key: string, format: number | undefined) =>
  new PosthornError('POSTHORN_QUEUE_FORMAT', `the record ${key} has format ${format ?? 'none'}, this version knows 1`, {
    fix: 'Start the version of Posthorn that wrote it, or a newer one.',
  })

export const badId = (id: string) =>
  new PosthornError('POSTHORN_QUEUE_ID', `not a queue id: ${JSON.stringify(id.slice(0, 100))}`, {
    fix: 'Use letters, digits, dots, hyphens and underscores, at most 200.',
  })

export const unknownMessage = (id: string) =>
  new PosthornError('POSTHORN_QUEUE_UNKNOWN', `no message ${id} is queued`, {
    fix: 'It was delivered, bounced or deleted: `posthorn explain` shows its trace.',
  })

/** The message of whatever was thrown. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
