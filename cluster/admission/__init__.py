"""Which requests a gateway takes in, in which order they go to the engines, and what they used.

    offer -> a tenant's own limits        429, with the seconds until it would be admitted
          -> the predicted wait           503, with the seconds until it would be short enough
          -> the tenants' fair queue  ->  engines, as soon as one of them has room

`cluster.admission.admission.Admission` is all of it; a gateway process has one, calls it from one
thread, and gives it the time. The parts:

| module                            | decides                                                   |
|-----------------------------------|-----------------------------------------------------------|
| `tenants`, `keyring`              | who may ask for what, and who asks                        |
| `token_bucket`, `tenant_limits`   | whether a tenant is within its limits, and if not, when   |
| `max_min`, `reconciler`           | which share of a limit each gateway has                   |
| `fair_queue`, `class_queue`       | who is next                                               |
| `engine_room`, `model_queue`      | whether an engine has room for it                         |
| `drain_rate`, `predicted_wait`    | how long it will wait, and whether that is too long       |
| `pausing`                         | which batch requests make room                            |
| `usage`, `ledger`                 | what was used, over all attempts of a request             |
"""
