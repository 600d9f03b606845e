/* A security key made of software, as the library that ssh finds by SecurityKeyProvider.
 *
 * ssh, ssh-keygen and ssh-agent call it as they would call the one for devices of FIDO; what it signs, a real sshd
 * checks. The interface is that of OpenSSH's PROTOCOL.u2f: a key of Ed25519, whose private half is all that its handle
 * holds, and whose signature is over SHA256(application), the flags, the counter and SHA256(message). It is touched
 * when the file is there that STORY_TOUCH names, at once without, and takes one PIN where somebody has to be verified. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#define API_VERSION 0x000a0000u

#define ALGORITHM_ED25519 1u
#define SEED_BYTES 32
#define SIGNATURE_BYTES 64

/* Flags: somebody touched it, and proved to be its owner. */
#define VERIFIED 0x04

#define ERROR_GENERAL (-1)
#define ERROR_UNSUPPORTED (-2)
#define ERROR_PIN_REQUIRED (-3)

#define PIN "1234"

struct sk_option;

struct sk_enroll_response {
    uint8_t flags;
    uint8_t *public_key;
    size_t public_key_len;
    uint8_t *key_handle;
    size_t key_handle_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *attestation_cert;
    size_t attestation_cert_len;
    uint8_t *authdata;
    size_t authdata_len;
};

struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r;
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

struct sk_resident_key;

uint32_t sk_api_version(void) {
    return API_VERSION;
}

/* Whether somebody who has to be verified is not. */
static int pin_is_missing(uint8_t flags, const char *pin) {
    return (flags & VERIFIED) != 0 && (pin == NULL || strcmp(pin, PIN) != 0);
}

/* Waits for whoever has it, for a minute. */
static int is_touched(void) {
    const char *touch = getenv("STORY_TOUCH");
    for (int left = 12000; touch != NULL && left > 0; left--) {
        if (access(touch, F_OK) == 0)
            return 1;
        usleep(5000);
    }
    return touch == NULL;
}

int sk_enroll(uint32_t algorithm, const uint8_t *challenge, size_t challenge_len, const char *application, uint8_t flags,
              const char *pin, struct sk_option **options, struct sk_enroll_response **response) {
    (void)challenge, (void)challenge_len, (void)application, (void)options;
    if (algorithm != ALGORITHM_ED25519)
        return ERROR_UNSUPPORTED;
    if (pin_is_missing(flags, pin))
        return ERROR_PIN_REQUIRED;
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct sk_enroll_response *made = calloc(1, sizeof *made);
    if (key == NULL || made == NULL)
        return ERROR_GENERAL;
    made->flags = flags;
    made->public_key_len = made->key_handle_len = SEED_BYTES;
    made->public_key = calloc(1, SEED_BYTES);
    made->key_handle = calloc(1, SEED_BYTES);
    /* Of an attestation, which nobody asks for. */
    made->signature_len = 1;
    made->signature = calloc(1, 1);
    if (EVP_PKEY_get_raw_public_key(key, made->public_key, &made->public_key_len) != 1 ||
        EVP_PKEY_get_raw_private_key(key, made->key_handle, &made->key_handle_len) != 1)
        return ERROR_GENERAL;
    EVP_PKEY_free(key);
    *response = made;
    return 0;
}

int sk_sign(uint32_t algorithm, const uint8_t *data, size_t data_len, const char *application, const uint8_t *key_handle,
            size_t key_handle_len, uint8_t flags, const char *pin, struct sk_option **options,
            struct sk_sign_response **response) {
    static uint32_t counter = 1;
    uint8_t message[SHA256_DIGEST_LENGTH + 1 + 4 + SHA256_DIGEST_LENGTH];
    (void)options;
    if (algorithm != ALGORITHM_ED25519 || key_handle_len != SEED_BYTES)
        return ERROR_UNSUPPORTED;
    if (pin_is_missing(flags, pin))
        return ERROR_PIN_REQUIRED;
    if (!is_touched())
        return ERROR_GENERAL;
    struct sk_sign_response *made = calloc(1, sizeof *made);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key_handle, key_handle_len);
    EVP_MD_CTX *signing = EVP_MD_CTX_new();
    if (made == NULL || key == NULL || signing == NULL)
        return ERROR_GENERAL;
    made->flags = flags;
    made->counter = counter++;
    made->sig_r_len = SIGNATURE_BYTES;
    made->sig_r = calloc(1, SIGNATURE_BYTES);
    SHA256((const unsigned char *)application, strlen(application), message);
    uint8_t *at = message + SHA256_DIGEST_LENGTH;
    *at++ = made->flags;
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(made->counter >> shift);
    SHA256(data, data_len, at);
    if (EVP_DigestSignInit(signing, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(signing, made->sig_r, &made->sig_r_len, message, sizeof message) != 1)
        return ERROR_GENERAL;
    EVP_MD_CTX_free(signing);
    EVP_PKEY_free(key);
    *response = made;
    return 0;
}

/* It keeps none. */
int sk_load_resident_keys(const char *pin, struct sk_option **options, struct sk_resident_key ***keys, size_t *count) {
    (void)pin, (void)options;
    *keys = NULL;
    *count = 0;
    return 0;
}
