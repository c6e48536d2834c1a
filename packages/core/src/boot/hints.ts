/** Which plugin of the distribution provides what others may need, by token: for advice. */
export const standardHints: Readonly<Record<string, string>> = {
  'core/storage': 'storage-level',
  'core/blobs': 'storage-level',
  'core/maintenance': 'storage-level',
  'domains/domains': 'domains',
}
