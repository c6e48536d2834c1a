/** What plugins log with: an object of fields first, then a sentence. Each line already names the plugin. */
export interface Log {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
