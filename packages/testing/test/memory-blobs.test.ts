import { blobsSuite, memoryBlobs, memoryStorage } from '@posthorn/testing'
import { describe, it } from 'vitest'

describe('memoryBlobs', () => {
  blobsSuite({ describe, it }, async () => {
    const storage = memoryStorage()
    const blobs = memoryBlobs(storage)
    return { storage, blobs, collect: () => blobs.collect(), close: async () => storage.close() }
  })
})
