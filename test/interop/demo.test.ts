// The lines that `npm start` prints to try and that need a program of others: each works as printed.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout, type Demo, removeCheckout, startDemo } from '../demo.ts'
import { countIn, until } from './mailbox.ts'
import { needs } from './needs.ts'

let demo: Demo

describe('npm start', () => {
  beforeAll(async () => {
    demo = await startDemo(await checkout())
  })
  afterAll(async () => {
    await demo?.stop()
    await removeCheckout(demo.folder)
  })
  const inbox = () => countIn(`${demo.folder}/.posthorn/mail/example.test/demo`)

  /** Runs the printed lines that `choose` picks; each brings one message. */
  async function tried(count: number, choose: RegExp) {
    const commands = demo.commands.filter(line => choose.test(line))
    expect(commands).toHaveLength(count)
    for (const command of commands) {
      const before = inbox()
      const { code, out, err } = await demo.shell(command)
      expect(code, `${command}\n${out}${err}`).toBe(0)
      await until(
        () => inbox() === before + 1,
        () => `${inbox() - before} messages by ${command}`,
      )
    }
  }

  test.runIf(needs('swaks'))('swaks to the mx', () => tried(1, /^swaks /))
  test.runIf(needs('curl'))('curl to the mx, and with TLS and a log-in to submission', () => tried(2, /\| curl /))
})
