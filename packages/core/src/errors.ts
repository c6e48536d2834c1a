/** Every error a person may see: a stable code, what happened, and what to do about it. */
export class PosthornError extends Error {
  readonly code: string
  /** The next thing to do, as one sentence. */
  readonly fix?: string
  /** Where in the configuration: `plugins[2].relay.port`, with `file:line` where the format allows. */
  readonly at?: string

  constructor(code: string, message: string, extra: { fix?: string; at?: string; cause?: unknown } = {}) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause })
    this.name = 'PosthornError'
    this.code = code
    if (extra.fix !== undefined) this.fix = extra.fix
    if (extra.at !== undefined) this.at = extra.at
  }
}

/** Several errors found in one pass: all that is wrong with a configuration. `message` says how many, `errors` says what. */
export class PosthornErrors extends PosthornError {
  readonly errors: readonly PosthornError[]

  constructor(code: string, message: string, errors: readonly PosthornError[]) {
    super(code, message)
    this.name = 'PosthornErrors'
    this.errors = errors
  }
}

export const invalidVerdict = (code: number, enhanced: string, text: string) =>
  new PosthornError('POSTHORN_VERDICT_INVALID', `not a valid reply: ${code} ${enhanced} ${JSON.stringify(text)}`, {
    fix: 'Use an enhanced code like 5.7.1 and a text of one line without control characters.',
  })
