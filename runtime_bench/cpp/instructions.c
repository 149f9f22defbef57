/* QEMU plugin: counts the instructions that the emulated program executes.
 *
 * Argument counts=PATH. One line, the count so far, is added to that file at each write to standard output: the
 * runner writes there exactly once for every command, so differences of lines are the commands' costs.
 * The few declarations of QEMU's plugin interface that it needs are repeated here: no package has the header.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*tb_translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*tb_executed)(unsigned int vcpu, void *data);
typedef void (*syscall_entered)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                                uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_translated callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, tb_executed callback, int flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_entered callback);

#define EXPORT __attribute__((visibility("default")))
enum { READS_NO_REGISTERS = 0, WRITE = 64 /* on aarch64 */, STANDARD_OUTPUT = 1 };

EXPORT int qemu_plugin_version = PLUGIN_API;

static uint64_t executed;
static FILE *out;

#if PLUGIN_API == 1
/* Compiled into the program's own blocks, several times faster than a call; exact for one thread only. */
enum { ADD_U64 = 0 };
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation, void *data, uint64_t amount);

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
}
#else
static void count(unsigned int vcpu, void *instructions)
{
    (void)vcpu;
    __atomic_fetch_add(&executed, (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, count, READS_NO_REGISTERS,
                                         (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}
#endif

static void entered(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == WRITE && a1 == STANDARD_OUTPUT) {
        fprintf(out, "%" PRIu64 "\n", __atomic_load_n(&executed, __ATOMIC_RELAXED));
        fflush(out);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "counts=", 7) != 0 || (out = fopen(argv[0] + 7, "w")) == NULL) {
        fprintf(stderr, "instructions plugin: needs counts=PATH, a file it can write\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, entered);
    return 0;
}
