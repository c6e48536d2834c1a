// The only importer of tsyringe and of the reflect-metadata that it wants: services by token name, in a container of
// the process and one child per configuration generation. Nothing else of tsyringe is used: no decorators, no factories.
import 'reflect-metadata'
import { container, type DependencyContainer } from 'tsyringe'
import type { Token } from '../token.ts'

export class Services {
  readonly #container: DependencyContainer

  private constructor(own: DependencyContainer) {
    this.#container = own
  }

  /** The services of the process. */
  static of(pairs: Iterable<readonly [Token<any>, unknown]>): Services {
    const services = new Services(container.createChildContainer())
    for (const [token, value] of pairs) services.provide(token, value)
    return services
  }

  /** A container of one generation: it sees these services, these do not see its own. */
  child(): Services {
    return new Services(this.#container.createChildContainer())
  }

  provide<T>(token: Token<T>, value: T): void {
    // Boxed: tsyringe takes a provider of undefined for none.
    this.#container.registerInstance(token.name, { value })
  }

  has(token: Token<any>): boolean {
    return this.#container.isRegistered(token.name, true)
  }

  get<T>(token: Token<T>): T | undefined {
    return this.has(token) ? this.#container.resolve<{ readonly value: T }>(token.name).value : undefined
  }

  /** Forgets its own services. tsyringe does not dispose of them: `dispose.ts` does. */
  clear(): void {
    this.#container.reset()
  }
}
